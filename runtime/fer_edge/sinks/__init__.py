"""Where results go: one protocol, one file a kind, and a set that keeps one failing sink from stopping the others."""

from fer_edge.sinks.base import Sink
from fer_edge.sinks.csv_file import CsvSink
from fer_edge.sinks.group import SinkSet
from fer_edge.sinks.jsonl import JsonlSink
from fer_edge.sinks.terminal import TerminalSink
from fer_edge.sinks.video_file import VideoSink

__all__ = ["CsvSink", "JsonlSink", "Sink", "SinkSet", "TerminalSink", "VideoSink"]
