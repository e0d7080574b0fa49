"""Answers from the rows of an application: how late its labels come, and whether its model is right.

`questions.py` asks a sink (one set-based query per question, bounded results), the others reckon from what it says,
and `report.py` puts all of it together. docs/explanation/answers.md tells what each figure says, and when not to
believe it.
"""
