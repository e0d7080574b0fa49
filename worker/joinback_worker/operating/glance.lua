-- Takes one consistent look at a tag, in a bounded number of steps. Writes nothing.
-- KEYS  1 pending   2 stats   3 history   4 dead   5 fields   6 erased
-- ARGV  1 group   2 the consumer that holds what waits for a newer worker   3 how many ms ago a rate begins
--       4 a day, in ms   5 the number of entries at which a history is cut   6 how long a claim holds, in ms
-- Returns {ms by this server's clock,
--   pending: {entries, last id, id of the oldest claimable, claimed, waiting for a newer worker, id of the oldest of it,
--   consumers whose claim on their first entry still holds},
--   counters, the history's last entry before the rate begins, its last entry before the day begins, its last entry:
--   each flat, its id first,
--   dead letters: {how many, id of the newest, ms until they expire},
--   {the wrong type that stands at history, at dead, at fields, at erased; '' where the type is right}}
-- An id is '' where there is none. Where pending or stats holds another type, the part is the name of that type.
local pending, stats, history, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group, parked, rate_ms, day_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local before_rate, before_day = string.format('%.0f', now_ms - rate_ms), string.format('%.0f', now_ms - day_ms)

-- Returns the type of the key, if it exists and is not of the wanted type; else false.
local function foreign(key, wanted)
  local kind = redis.call('TYPE', key).ok
  return kind ~= wanted and kind ~= 'none' and kind
end

local function map_of(flat)
  local found = {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

local function is_before(a, b)
  local a_ms, a_number = string.match(a, '^(%d+)-(%d+)')
  local b_ms, b_number = string.match(b, '^(%d+)-(%d+)')
  if a_ms ~= b_ms then return tonumber(a_ms) < tonumber(b_ms) end
  return tonumber(a_number) < tonumber(b_number)
end

-- Returns the first entry of this consumer that the stream still holds, and how many ms ago it was claimed. Redis 6.2
-- keeps claims on trimmed entries.
local function oldest_of(consumer)
  for _, claim in ipairs(redis.call('XPENDING', pending, group, '-', '+', 10, consumer)) do
    if #redis.call('XRANGE', pending, claim[1], claim[1]) == 1 then return claim[1], claim[3] end
  end
  return '', 0
end

local function look_at_pending()
  local entries = redis.call('XLEN', pending)
  if redis.call('EXISTS', pending) == 0 then return {0, '', '', 0, 0, '', {}} end
  local newest = redis.call('XREVRANGE', pending, '+', '-', 'COUNT', 1)[1]
  local delivered
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', pending)) do
    local found = map_of(flat)
    if found['name'] == group then delivered = found['last-delivered-id'] end
  end
  -- When a stream was drained empty, its group still knows the last entry.
  local last_id = newest and newest[1] or delivered or ''
  local fresh = redis.call('XRANGE', pending, delivered and '(' .. delivered or '-', '+', 'COUNT', 1)[1]
  local oldest = fresh and fresh[1] or ''
  local claimed, waiting, oldest_waiting, holders = 0, 0, '', {}
  -- Without a group, nothing is claimed. Without a claim, the list of consumers is not a table.
  local consumers = delivered and redis.call('XPENDING', pending, group)[4] or nil
  for _, pair in ipairs(type(consumers) == 'table' and consumers or {}) do
    local first, idle_ms = oldest_of(pair[1])
    if pair[1] == parked then
      waiting, oldest_waiting = tonumber(pair[2]), first
    else
      claimed = claimed + tonumber(pair[2])
      if first ~= '' and idle_ms < tonumber(ARGV[6]) then holders[#holders + 1] = pair[1] end
      if first ~= '' and (oldest == '' or is_before(first, oldest)) then oldest = first end
    end
  end
  return {entries, last_id, oldest, claimed, waiting, oldest_waiting, holders}
end

local function noted(command, from, to)
  local entry = redis.call(command, history, from, to, 'COUNT', 1)[1]
  if not entry then return {} end
  local flat = {entry[1]}
  for _, text in ipairs(entry[2]) do flat[#flat + 1] = text end
  return flat
end

local function look_at_letters()
  if foreign(dead, 'stream') then return {0, '', -1} end
  local newest = redis.call('XREVRANGE', dead, '+', '-', 'COUNT', 1)[1]
  return {redis.call('XLEN', dead), newest and newest[1] or '', 1000 * redis.call('TTL', dead)}
end

local rate, day, last = {}, {}, {}
if not foreign(history, 'stream') then
  rate, day = noted('XREVRANGE', before_rate, '-'), noted('XREVRANGE', before_day, '-')
  last = noted('XREVRANGE', '+', '-')
  -- A history that was cut begins within the day: then count since its first entry.
  if #day == 0 and redis.call('XLEN', history) >= tonumber(ARGV[5]) then day = noted('XRANGE', '-', '+') end
end
return {
  string.format('%.0f', now_ms),
  foreign(pending, 'stream') or look_at_pending(),
  foreign(stats, 'hash') or redis.call('HGETALL', stats),
  rate, day, last,
  look_at_letters(),
  {
    foreign(history, 'stream') or '', foreign(dead, 'stream') or '',
    foreign(KEYS[5], 'hash') or '', foreign(KEYS[6], 'hash') or '',
  },
}
