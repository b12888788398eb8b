"""Tests of the clouds."""
