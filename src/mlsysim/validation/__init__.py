"""Predictions against measurements of others: calibration, the scoreboard, and statistics."""
