"""Pretrain the convolutional network that you already ship. Run: python examples/own_backbone.py"""
