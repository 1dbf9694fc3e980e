-- What the scripts below share; put in front of each of them by redis_scripts.py. Key layout 1 (the `wb1:` in front of every
-- key): a release that changes the layout changes that prefix, so that old and new replicas count apart and never misread.
--
-- Per subject (one hash tag, so one slot): `leases` is a sorted set, hold id -> deadline in ms; `holds` is a hash, hold id ->
-- "key field amount key field amount ..."; `marks` is a hash of the rare cases, hold id -> 's' (swept: taken back past its
-- deadline) or 'd' (done: counted after that). Each window is one hash with two fields per counter: settled, and held ('#' behind).
--
-- Amounts stay strings: a Lua number is a double and would lose ones above 2^53. HINCRBY counts in 64 bits.

local EXACT = 9007199254740992
local MARKS_LIVE_MS = 86400000

local function now_ms(clock)
  if clock ~= '0' then return tonumber(clock) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A decimal as two numbers: thousands of millions, and the rest.
local function halves(text)
  if #text <= 9 then return 0, tonumber(text) end
  return tonumber(string.sub(text, 1, -10)), tonumber(string.sub(text, -9))
end

-- Whether a + b + c <= most, without rounding.
local function fits(a, b, c, most)
  local sum, limit = tonumber(a) + tonumber(b) + tonumber(c), tonumber(most)
  if sum < EXACT and limit < EXACT then return sum <= limit end
  local a_high, a_low = halves(a)
  local b_high, b_low = halves(b)
  local c_high, c_low = halves(c)
  local high, low = halves(most)
  local carry = math.floor((a_low + b_low + c_low) / 1000000000)
  local rest = (a_low + b_low + c_low) - carry * 1000000000
  local all = a_high + b_high + c_high + carry
  return all < high or (all == high and rest <= low)
end

local function give_back(taken)
  for key, field, amount in string.gmatch(taken, '(%S+) (%S+) (%S+)') do
    if redis.call('HINCRBY', key, field, '-' .. amount) <= 0 then redis.call('HDEL', key, field) end
  end
end

-- Take back what is past its deadline: its owner is dead, or will renew and take it again.
local function reclaim(leases, holds, marks, now)
  local dead = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 200)
  for _, id in ipairs(dead) do
    local taken = redis.call('HGET', holds, id)
    if taken then
      give_back(taken)
      redis.call('HDEL', holds, id)
      redis.call('HSET', marks, id, 's')
    end
    redis.call('ZREM', leases, id)
  end
  if #dead > 0 then redis.call('PEXPIRE', marks, MARKS_LIVE_MS) end
end
