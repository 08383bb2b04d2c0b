"""Secrets in files: where they are looked for, what is refused, and who is warned."""

import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.arguments import ArgumentParser
from fer_edge.broker import broker_at
from fer_edge.credentials import is_world_readable, read_secret
from fer_edge.errors import UsageError
from fer_edge.options import add_flags, parse


@pytest.fixture(autouse=True)
def in_a_folder_that_others_may_enter(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)


def settings_of(*words):
    parser = ArgumentParser()
    add_flags(parser)
    return parse(parser, words)


def secret(path, text="correct-horse-battery\n", mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_token_comes_from_a_file(tmp_path):
    secret(tmp_path / "token")
    assert settings_of("--camera", "0", "--web-token-file", "token").web.token == "correct-horse-battery"


def test_a_password_is_put_into_the_address_of_its_user(tmp_path):
    secret(tmp_path / "password", "p@ss/w0rd:ü ?#\n")
    settings = settings_of("--source", "rtsp://me@cam:554/live?x", "--source-password-file", "password")
    assert settings.source.address == "rtsp://me:p%40ss%2Fw0rd%3A%C3%BC%20%3F%23@cam:554/live?x"
    settings = settings_of("--camera", "0", "--mqtt", "mqtts://me@broker", "--mqtt-password-file", "password")
    broker = broker_at(settings.mqtt.address)
    assert (broker.user, broker.password, broker.host) == ("me", "p@ss/w0rd:ü ?#", "broker")


def test_a_whole_address_comes_from_a_file_and_its_password_from_another(tmp_path):
    secret(tmp_path / "camera", "rtsp://me@cam/live")
    secret(tmp_path / "password", "hunter2")
    settings = settings_of("--source-file", "camera", "--source-password-file", "password")
    assert settings.source.address == "rtsp://me:hunter2@cam/live"


def test_systemds_credentials_are_looked_at_first(tmp_path, monkeypatch):
    secret(tmp_path / "token", "the one in the working directory")
    folder = tmp_path / "credentials"
    folder.mkdir()
    secret(folder / "token", "the-one-of-systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert settings_of("--camera", "0", "--web-token-file", "token").web.token == "the-one-of-systemd"
    secret(tmp_path / "other")
    assert settings_of("--camera", "0", "--web-token-file", "other").web.token == "correct-horse-battery"


def test_a_flag_replaces_the_files_secret_of_either_kind(tmp_path):
    secret(tmp_path / "a", "token-in-file-a")
    config = secret(tmp_path / "c.toml", '[source]\naddress_file = "absent"\n[web]\ntoken = "token-in-the-file"\n')
    settings = settings_of("--config", str(config), "--camera", "0", "--web-token-file", "a")
    assert (settings.web.token, settings.source.camera, settings.source.address) == ("token-in-file-a", 0, None)
    config = secret(tmp_path / "c.toml", '[source]\ncamera = 0\n[web]\ntoken_file = "absent"\n')
    assert settings_of("--config", str(config), "--web-token", "token-of-the-flag").web.token == "token-of-the-flag"


def test_a_file_that_is_read_again_may_hold_another_secret(tmp_path):
    config = secret(tmp_path / "c.toml", '[source]\ncamera = 0\n[web]\ntoken_file = "token"\n')
    secret(tmp_path / "token", "first-of-two-tokens")
    assert settings_of("--config", str(config)).web.token == "first-of-two-tokens"
    secret(tmp_path / "token", "second-of-two-tokens")
    assert settings_of("--config", str(config)).web.token == "second-of-two-tokens"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "found none"),
        (b" \n", "found none"),
        (b"S3cr3t\nS3cr3t\n", "found several lines"),
        (b"S3cr3t\0", "control characters"),
        (b"S3cr3t\xff", "found other bytes"),
        (b"S3cr3t" * 10_000, "more than 16 kB"),
    ],
)
def test_what_is_no_line_of_text_is_refused_without_being_quoted(tmp_path, data, reason):
    (tmp_path / "secret").write_bytes(data)
    with pytest.raises(UsageError, match=reason) as refused:
        read_secret(tmp_path / "secret", "[web] token_file")
    assert "S3cr3t" not in str(refused.value) and str(refused.value).startswith("[web] token_file = ")


@given(st.binary(max_size=40))
def test_any_file_is_a_secret_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "secret"
    path.write_bytes(data)
    try:
        text = read_secret(path, "[web] token_file")
    except UsageError:
        return
    assert text.isprintable() and text.strip() and "\n" not in text


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for name in ("absent", "fifo", ".", "a\0b", "x" * 300):
        with pytest.raises(UsageError, match=r"^\[web\] token_file: no file of this name") as refused:
            read_secret(tmp_path / name, "[web] token_file")
        assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ("--source", "rtsp://cam/live", "--source-password-file", "p"),
        ("--source", "rtsp://me:other@cam/live", "--source-password-file", "p"),
        ("--source", "clip.mp4", "--source-password-file", "p"),
        ("--camera", "0", "--mqtt-password-file", "p"),
        ("--camera", "0", "--mqtt", "mqtt://broker/me@x", "--mqtt-password-file", "p"),
    ],
)
def test_a_password_without_its_user_is_refused(tmp_path, words):
    secret(tmp_path / "p")
    with pytest.raises(UsageError, match="password_file needs an address with a user and without a password"):
        settings_of(*words)


def test_a_token_and_its_file_exclude_each_other(tmp_path):
    config = secret(tmp_path / "c.toml", '[source]\ncamera = 0\n[web]\ntoken = "one"\ntoken_file = "t"\n')
    secret(tmp_path / "t")
    with pytest.raises(UsageError, match=r"\[web\] token_file and \[web\] token are both set"):
        settings_of("--config", str(config))


# --- Who else may read them ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '[web]\ntoken = "correct-horse"',
        '[source]\naddress = "rtsp://me:hunter2@cam/live"',
        '[source]\naddress = "rtsp://cam/user=me_password=hunter2"',
        '[mqtt]\naddress = "mqtt://me:hunter2@broker"',
    ],
)
def test_a_configuration_with_a_secret_that_everybody_may_read_is_warned_about(tmp_path, caplog, text):
    config = secret(tmp_path / "c.toml", text, 0o644)
    settings_of("--config", str(config), "--camera", "0")
    assert f"{config} holds a secret that every user here may read. Run `chmod o= {config}`." in caplog.messages
    caplog.clear()
    config.chmod(0o640)
    settings_of("--config", str(config), "--camera", "0")
    assert not caplog.messages


def test_a_secrets_own_file_that_everybody_may_read_is_warned_about(tmp_path, caplog):
    secret(tmp_path / "token", mode=0o644)
    settings_of("--camera", "0", "--web-token-file", "token")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "hold" in caplog.text and "correct-horse" not in caplog.text


def test_a_private_key_that_everybody_may_read_is_warned_about(tmp_path, caplog):
    secret(tmp_path / "client.key", "a key", 0o644)
    settings_of("--camera", "0", "--mqtt-key-file", "client.key")
    assert "client.key holds a secret" in caplog.text


def test_no_warning_where_there_is_no_secret_or_nobody_comes_there(tmp_path, caplog):
    secret(tmp_path / "p", "hunter2")
    plain = '[source]\naddress = "rtsp://me@cam/stream1"\npassword_file = "p"\n[mqtt]\naddress = "mqtt://broker"'
    settings_of("--config", str(secret(tmp_path / "c.toml", plain, 0o644)))
    hidden = tmp_path / "folder"
    hidden.mkdir(mode=0o700)
    config = secret(hidden / "c.toml", '[source]\ncamera = 0\n[web]\ntoken = "correct-horse"', 0o644)
    settings_of("--config", str(config))
    assert not caplog.messages


def test_a_link_is_judged_by_the_file_it_leads_to(tmp_path):
    (tmp_path / "link").symlink_to(secret(tmp_path / "target", mode=0o644))
    assert is_world_readable(tmp_path / "link")
    (tmp_path / "target").chmod(0o600)
    assert not is_world_readable(tmp_path / "link")
    (tmp_path / "loop").symlink_to("loop")
    assert not is_world_readable(tmp_path / "loop")
