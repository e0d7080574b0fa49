-- Reads the clock of the server that holds this key.
-- KEYS  1 any key   Returns {seconds, microseconds}.
return redis.call('TIME')
