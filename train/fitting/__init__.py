"""Fitting the students and their judge on cached features of the teacher."""
