"""Readers for Keras and TensorFlow."""
