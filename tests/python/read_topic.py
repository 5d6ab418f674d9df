"""Reads records in Confluent wire format as a stranger would: with fastavro and the registry's HTTP endpoints.

usage: read_topic.py REGISTRY_URL < records, one per line, hexadecimal
Prints one JSON line a record.
"""
import io, json, struct, sys, urllib.request
import fastavro

registry, schemas = sys.argv[1], {}


def schema(number):
    if number not in schemas:
        with urllib.request.urlopen(f"{registry}/schemas/ids/{number}", timeout=10) as answer:
            schemas[number] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
    return schemas[number]


for line in sys.stdin:
    record = bytes.fromhex(line)
    magic, number = struct.unpack(">bI", record[:5])
    assert magic == 0, magic
    datum = io.BytesIO(record[5:])
    value = fastavro.schemaless_reader(datum, schema(number))
    assert not datum.read(), "bytes are left over"
    print(json.dumps(value, default=str))
