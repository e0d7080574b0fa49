-- One consistent look at a tag's books.
-- KEYS  1 pending   2 stats   Returns {entries pending, age in ms of the oldest, {counter, value, ...}}.
local entries = redis.call('XLEN', KEYS[1])
local age_ms = 0
if entries > 0 then
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
  local now = redis.call('TIME')
  age_ms = now[1] * 1000 + math.floor(now[2] / 1000) - tonumber(string.match(oldest, '^%d+'))
end
return {entries, age_ms, redis.call('HGETALL', KEYS[2])}
