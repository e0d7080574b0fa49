"""A uWSGI mule: one more process that uWSGI forks unseen by Python, which logs as long as it lives."""

import os
import time

import uwsgi_service

import joinback

while True:
    joinback.log_record("mules", inputs={}, outputs=0, tags={"pid": os.getpid(), "imported": uwsgi_service.IMPORTED})
    time.sleep(0.1)
