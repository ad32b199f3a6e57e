"""What is usually written first: one row a call, one thing after the other. python peer.py ROWS.jsonl"""

import json
import os
import smtplib
import sys
import time
from email.message import EmailMessage
from urllib.parse import urlsplit

import pandas
import requests

PRODUCER, MODEL, MAIL = (os.environ[name] for name in ("PRODUCER_URL", "MODEL_URL", "SMTP_URL"))


def judge_next():
    answer = requests.get(PRODUCER, timeout=60)
    answer.raise_for_status()
    row = pandas.DataFrame(**json.loads(answer.json()))
    features = row.drop(columns=["is_fraud", "current_time"])
    features["unix_time"] = row["current_time"] // 1000
    features["trans_date_trans_time"] = pandas.to_datetime(row["current_time"], unit="ms").astype(str)
    asked = {"dataframe_split": json.loads(features.to_json(orient="split", index=False))}
    answer = requests.post(f"{MODEL}invocations", json=asked, timeout=60)
    answer.raise_for_status()
    row["prediction"] = answer.json()["predictions"]
    row.to_json(sys.argv[1], orient="records", lines=True, mode="a")
    if row["prediction"][0] == 1:
        mail = EmailMessage()
        mail["Subject"], mail["From"], mail["To"] = "Fraud", os.environ["ALERT_FROM"], os.environ["ALERT_TO"]
        mail.set_content(f"Transaction: {row['trans_num'][0]}\nAmount: {row['amt'][0]}\nMerchant: {row['merchant'][0]}\n")
        with smtplib.SMTP(urlsplit(MAIL).hostname, urlsplit(MAIL).port) as server:
            server.send_message(mail)


while True:
    try:
        judge_next()
    except (requests.RequestException, smtplib.SMTPException, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        time.sleep(1)
