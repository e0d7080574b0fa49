-- Reports what a client dropped since its last report. It uses one key, which no batch uses.
--
-- KEYS  1 joinback:drops
-- ARGV  1 TTL of the key (s)   2 the most entries to keep   3.. fields and values of the entry
--
-- XADD comes first: a full Redis refuses it, and then nothing is reported.

redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
return redis.call('EXPIRE', KEYS[1], ARGV[1])
