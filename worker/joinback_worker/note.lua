-- Notes what a tag's counters are now at the end of its history.
-- KEYS  1 pending   2 stats   3 history
-- ARGV  1 the history's TTL (s)   2 its entries at most   3 counters of one entry at most
-- Returns an empty string, or a type's name where something else than a stream stands at the history's key.
-- What somebody else wrote among the counters, or in their place, is left out.
local kind = redis.call('TYPE', KEYS[3]).ok
if kind ~= 'stream' and kind ~= 'none' then return kind end

local pending = redis.pcall('XLEN', KEYS[1])
local fields = {'pending', type(pending) == 'number' and pending or 0}
local flat = redis.pcall('HGETALL', KEYS[2])
for i = 1, math.min(#flat, 2 * ARGV[3]), 2 do
  if flat[i] ~= 'buffer_ttl_s' and string.match(flat[i + 1], '^%-?%d+$') then
    fields[#fields + 1] = flat[i]
    fields[#fields + 1] = flat[i + 1]
  end
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', unpack(fields))
redis.call('EXPIRE', KEYS[3], ARGV[1])
return ''
