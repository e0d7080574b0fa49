-- Lets Redis keep settled records for a short time only. The sink has each of them whole, and can look it up.
--
-- KEYS  the records' keys
-- ARGV  1 their TTL from now on (s)   2.. for each record the fields that were loaded, one per line
--
-- A record that has got another field since keeps its TTL: that event is not in the sink yet. So does one that expired
-- and began anew. A TTL is only made shorter here; the next event renews it.

local ttl_s = tonumber(ARGV[1])

local function holds_only(record, loaded)
  local fields = redis.pcall('HKEYS', record)
  if fields.err then return false end
  if #fields == 1 and fields[1] == loaded then return true end
  local known = {}
  for field in string.gmatch(loaded, '[^\n]+') do known[field] = true end
  for _, field in ipairs(fields) do
    if not known[field] then return false end
  end
  return true
end

for i, record in ipairs(KEYS) do
  if holds_only(record, ARGV[i + 1]) then
    local left_s = redis.call('TTL', record)
    if left_s == -1 or left_s > ttl_s then redis.call('EXPIRE', record, ttl_s) end
  end
end
