def evaluate(config):
    raise SystemExit
