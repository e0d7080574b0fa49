"""Answers from the rows of an application: how late its labels come, and whether its model is right.

`questions.py` has one set-based query per question, each with a bounded result. `report.py` asks the sink and puts the
answers together. The other files compute figures from the results. docs/explanation/answers.md explains what each
figure means, and when not to believe it.
"""
