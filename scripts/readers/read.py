"""Evaluates each line of standard input as Python, and prints the rows of the result as JSON."""

import contextlib
import glob
import json
import os
import pathlib
import sys
import zlib
from urllib.parse import urlsplit

import duckdb
import duckdb_extension_httpfs
import pandas
from pyspark.sql import SparkSession

COLUMNS = ["messageId", "type"]


def rows(table):
    """Returns COLUMNS of a table of pandas, DuckDB or Spark."""
    if isinstance(table, pandas.DataFrame):
        return table[COLUMNS].values.tolist()
    chosen = table.select(*COLUMNS)
    return [list(row) for row in (chosen.fetchall() if isinstance(table, duckdb.DuckDBPyRelation) else chosen.collect())]


def first_members(files):
    """Returns what readers see if they stop after the first gzip member, as Ruby's Zlib::GzipReader does."""
    lines = []
    for file in files:
        lines += zlib.decompressobj(wbits=31).decompress(pathlib.Path(file).read_bytes()).splitlines()
    return pandas.DataFrame([json.loads(line) for line in lines])


def open_s3():
    """Lets DuckDB read S3. The extension comes from a Python package, so that DuckDB does not download it."""
    extension = next(pathlib.Path(duckdb_extension_httpfs.__file__).parent.rglob("*.duckdb_extension"))
    server, env = urlsplit(os.environ["AWS_ENDPOINT_URL"]), os.environ
    duckdb.sql(f"LOAD '{extension}'")
    duckdb.sql(f"""CREATE SECRET (TYPE s3, ENDPOINT '{server.netloc}', USE_SSL {server.scheme == "https"}, URL_STYLE 'path',
        REGION '{env["AWS_REGION"]}', KEY_ID '{env["AWS_ACCESS_KEY_ID"]}', SECRET '{env["AWS_SECRET_ACCESS_KEY"]}')""")


def main():
    lines = [line.strip() for line in sys.stdin if line.strip()]
    known = {"duckdb": duckdb, "pandas": pandas, "glob": glob, "first_members": first_members}
    if any("s3://" in line for line in lines):
        open_s3()
    spark = contextlib.nullcontext()
    if any("spark" in line for line in lines):
        builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        spark = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").getOrCreate()
    with spark as known["spark"]:
        for line in lines:
            print(json.dumps({"code": line, "rows": rows(eval(line, known))}), flush=True)


if __name__ == "__main__":
    main()
