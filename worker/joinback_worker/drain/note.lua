-- Appends a tag's counters, as they are now, to its history.
-- KEYS  1 pending   2 stats   3 history
-- ARGV  1 the history's TTL (s)   2 its entries at most   3 counters of one entry at most
--       4.. the seconds in which the feedback came that this drain took, in order
-- Returns an empty string, or a type's name where something else than a stream stands at the history's key.
-- Leaves out what somebody else wrote among the counters, or in their place.
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

-- When feedback first and last came, and the longest time between two. Each entry carries them on from the entry before.
-- What another worker has noted as later already, makes no silence.
local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
local before = {}
for i = 1, last and #last[2] or 0, 2 do before[last[2][i]] = tonumber(last[2][i + 1]) end
local came_s, first_s, silence_s = before['feedback_at_s'], before['feedback_first_s'], before['feedback_silence_max_s']
for i = 4, #ARGV do
  local heard_s = tonumber(ARGV[i])
  if not came_s or heard_s > came_s then
    if came_s then silence_s = math.max(silence_s or 0, heard_s - came_s) end
    came_s, first_s = heard_s, first_s or heard_s
  end
end
if came_s then
  for _, pair in ipairs({{'feedback_at_s', came_s}, {'feedback_first_s', first_s}, {'feedback_silence_max_s', silence_s or 0}}) do
    fields[#fields + 1] = pair[1]
    fields[#fields + 1] = string.format('%.0f', pair[2])
  end
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', unpack(fields))
redis.call('EXPIRE', KEYS[3], ARGV[1])
return ''
