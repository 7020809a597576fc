"""Exercises that check themselves: one module a chapter, one value of data an exercise.

``from bertbook.exercises import attention as exercises``, then ``exercises.check_scale(answer)``.
What an exercise consists of, and how an answer is judged, stands in
:mod:`bertbook.exercises.checker`.
"""
