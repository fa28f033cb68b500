"""Faces of answers beyond text: pictures for Matplotlib and Plotly."""
