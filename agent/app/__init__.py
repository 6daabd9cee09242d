"""The composition root: alone knows everyone."""
