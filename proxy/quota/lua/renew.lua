-- Moves a hold's deadline. Where the hold is gone (taken back, or lost with the data) its owner is alive after all: takes it again.
-- KEYS  per subject: leases, holds, marks, then the windows it holds.
-- ARGV  number of subjects; per subject: number of windows, and what it holds as "key field amount key field amount ...".
--       Then: hold id, lease in ms, clock in ms ('0': Redis' own).

local last = #ARGV
local id, deadline = ARGV[last - 2], now_ms(ARGV[last]) + tonumber(ARGV[last - 1])
local key_at, at = 1, 2
for _ = 1, tonumber(ARGV[1]) do
  local leases, holds, marks = KEYS[key_at], KEYS[key_at + 1], KEYS[key_at + 2]
  local windows, taken = tonumber(ARGV[at]), ARGV[at + 1]
  if redis.call('HEXISTS', holds, id) == 1 then
    redis.call('ZADD', leases, deadline, id)
  elseif redis.call('HGET', marks, id) ~= 'd' then
    for key, field, amount in string.gmatch(taken, '(%S+) (%S+) (%S+)') do redis.call('HINCRBY', key, field, amount) end
    redis.call('HSET', holds, id, taken)
    redis.call('ZADD', leases, deadline, id)
    redis.call('HDEL', marks, id)
  end
  key_at, at = key_at + 3 + windows, at + 2
end
return 1
