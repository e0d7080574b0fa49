-- Reads the records of a slice in one call, in the order of the keys, as many as fit into the bytes.
-- KEYS  the record keys
-- ARGV  1 bytes of fields and values, at most
--       2 fields, 3 bytes of one record, at most: a larger record is not read
--       4 how many records are read even if they do not fit
-- Returns for each record that was read: a flat list field, value, ... (empty: gone); or the name of its type if it
-- is not a hash; or {number of fields, bytes (0: not measured)} if it is too large.
local budget, fields_max, bytes_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local records_min = tonumber(ARGV[4])
local records, spent = {}, 0
for i, key in ipairs(KEYS) do
  local length = redis.pcall('HLEN', key)
  if type(length) == 'table' then
    local kind = redis.call('TYPE', key).ok
    -- If it is a hash after all, Redis refused to read it: return that error.
    if kind == 'hash' then return length end
    records[i] = kind
  else
    local bytes = 0
    if length <= fields_max then
      for _, field in ipairs(redis.call('HKEYS', key)) do
        bytes = bytes + #field + redis.call('HSTRLEN', key, field)
      end
    end
    if length > fields_max or bytes > bytes_max then
      records[i] = {length, bytes}
    elseif i > records_min and spent + bytes > budget then
      break
    else
      spent = spent + bytes
      records[i] = redis.call('HGETALL', key)
    end
  end
end
return records
