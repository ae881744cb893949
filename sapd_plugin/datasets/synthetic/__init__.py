"""Degraded pairs from a folder of clean photos: rain, noise, blur."""
