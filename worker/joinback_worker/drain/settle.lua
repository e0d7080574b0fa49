-- Settles claimed entries: acknowledges, deletes and counts them, and writes their dead letters, in one step.
--
-- KEYS  1 pending   2 stats   3 dead   4 erased   5.. the record key of each rejected event
-- ARGV  1 stats TTL (s)   2 dead letters' TTL (s)   3 dead letters at most   4 a late mark's TTL (s)
--       then four lists, each preceded by its length:
--       counters: name, amount      settled entries by outcome: its name, the number of ids, the ids
--       dead entries: id, join key, reason, detail
--       rejected events: join key, field, reason, detail, bytes, and the field that marks it as late (empty: delete it)
--
-- A full Redis allows the first write (XACK), and lets a script that has begun go on. So a drain works at maxmemory,
-- when it matters most. Only the worker that deletes an entry counts it: so an entry that another worker has settled
-- is not counted again.
--
-- If a join key was erased meanwhile, no letter is written for it.
--
-- Returns the number of dead letters written.

local pending, stats, dead, erased = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local keys_before = 4
local stats_ttl_s, dead_ttl_s, dead_letters_max, late_mark_ttl_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local position = 4
-- Lua's stack holds some thousand values.
local ids_per_call = 1000

-- What can refuse the call is checked before anything is written.
local dead_type = redis.call('TYPE', dead).ok
if dead_type ~= 'stream' and dead_type ~= 'none' then
  return redis.error_reply('WRONGTYPE ' .. dead .. ' is a ' .. dead_type .. ', not a stream')
end

local function next_argument()
  position = position + 1
  return ARGV[position]
end

-- Text that somebody wrote at a counter stays there; the books name it as a trouble.
local function count(name, amount) redis.pcall('HINCRBY', stats, name, amount) end

local function bury(join_key, event, reason, detail, bytes)
  redis.call('XADD', dead, 'MAXLEN', '~', dead_letters_max, '*', 'key', join_key, 'event', event,
    'reason', reason, 'detail', detail, 'bytes', bytes)
  count('dead:' .. reason, 1)
end

local salt = redis.pcall('HGET', erased, 'salt')
local function is_erased(join_key)
  if type(salt) ~= 'string' then return false end
  local until_s = redis.call('HGET', erased, redis.sha1hex(salt .. join_key))
  return until_s and (tonumber(until_s) or 0) > tonumber(redis.call('TIME')[1])
end

local counters = {}
for _ = 1, tonumber(next_argument()) do
  local name = next_argument()
  counters[name] = tonumber(next_argument())
end

for _ = 1, tonumber(next_argument()) do
  local outcome, left = next_argument(), tonumber(next_argument())
  while left > 0 do
    local first, last = position + 1, position + math.min(left, ids_per_call)
    redis.call('XACK', pending, 'worker', unpack(ARGV, first, last))
    counters[outcome] = (counters[outcome] or 0) + redis.call('XDEL', pending, unpack(ARGV, first, last))
    left = left - (last - position)
    position = last
  end
end

local buried = 0
for _ = 1, tonumber(next_argument()) do
  local id, join_key, reason, detail = next_argument(), next_argument(), next_argument(), next_argument()
  redis.call('XACK', pending, 'worker', id)
  if redis.call('XDEL', pending, id) == 1 then
    if is_erased(join_key) then
      counters.erased = (counters.erased or 0) + 1
    else
      bury(join_key, '', reason, detail, '')
      buried = buried + 1
    end
  end
end

-- Each event has one entry, and that entry is counted in rows above. If its dead letter is written, subtract it.
local rejected = tonumber(next_argument())
for i = 1, rejected do
  local join_key, field, reason, detail, bytes = next_argument(), next_argument(), next_argument(), next_argument(), next_argument()
  local record, mark = KEYS[keys_before + i], next_argument()
  local done
  if is_erased(join_key) then
    done = 0
  elseif mark == '' then
    done = redis.pcall('HDEL', record, field)
  else
    done = redis.pcall('HSETNX', record, mark, detail)
    if redis.call('TTL', record) == -1 then redis.call('EXPIRE', record, late_mark_ttl_s) end
  end
  if done == 1 then
    bury(join_key, field, reason, detail, bytes)
    counters['in_rows'] = (counters['in_rows'] or 0) - 1
    buried = buried + 1
  end
end

for name, amount in pairs(counters) do
  if amount ~= 0 then count(name, amount) end
end
redis.call('EXPIRE', stats, stats_ttl_s)
if buried > 0 then redis.call('EXPIRE', dead, dead_ttl_s) end
return buried
