"""Tests of jlabel.training."""
