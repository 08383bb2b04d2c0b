"""Datasets as arrays of faces: FER2013 with FER+, the readers of other datasets, one cache for all.

A new dataset is a module in `readers/`. Nothing here knows of networks or of training.
"""
