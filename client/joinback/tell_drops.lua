-- Tells what a client dropped since it told it last. One key, which no batch touches.
--
-- KEYS  1 joinback:drops
-- ARGV  1 TTL of the key (s)   2 its entries at most   3.. fields and values of the entry
--
-- Its first write is XADD, which a full Redis refuses: then nothing was told.

redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 3))
return redis.call('EXPIRE', KEYS[1], ARGV[1])
