"""Runs a program and everything it starts until standard input ends: python until_eof.py PROGRAM ARGS…

The pipe ends with whoever holds its other end, also when that is killed: no server survives a test that was cut short.
"""

import os
import signal
import subprocess
import sys
import threading

if os.name != "nt":
    os.setpgrp()  # MLflow starts a server, which starts workers: all in one group
program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=lambda: os._exit(program.wait()), daemon=True).start()
sys.stdin.read()
if os.name == "nt":
    subprocess.run(["taskkill", "/pid", str(program.pid), "/T", "/F"])
else:
    os.killpg(0, signal.SIGKILL)
