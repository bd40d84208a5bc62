-- The beginning of every script. KEYS: held, nodes, shares, numbers, names, timing, then what the script says. ARGV: the owner
-- that asks, the number of its request, then what the script says.
--
-- held     conversation -> owner, + or - (its icon may be on, or not), strays (nothing for 0), . and endings (nothing for 0)
-- nodes    owner, by the moment at which its lease ends
-- shares   owner -> requests:limit:lease:need:timing, :until when that counts if it leaves; ~owner of one that is buried ->
--          what is kept for it:until; ? -> until when nobody's share grows
-- numbers  owner -> the number of its last request
-- names    owner -> what people call it; @ -> schema:org of the group
-- timing   version and changes of the timing while running, which hold for all
-- All moments are in milliseconds of the store's clock.
local HELD, NODES, SHARES, NUMBERS, NAMES, TIMING = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local me, number = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function is_alive(owner)
  local lease_end = redis.call('ZSCORE', NODES, owner)
  return lease_end and now < tonumber(lease_end)
end

local function forget(owner)
  redis.call('ZREM', NODES, owner)
  for _, key in ipairs({ SHARES, NUMBERS, NAMES }) do redis.call('HDEL', key, owner) end
end

local function take_mail(inbox)
  local mail = redis.call('LRANGE', inbox, 0, -1)
  redis.call('DEL', inbox)
  return mail
end

-- An owner is 16 characters. No endings are nil.
local function read(value)
  local owner, on = string.sub(value, 1, 16), string.sub(value, 17, 17) == '+'
  if #value == 17 then return owner, on, 0 end
  local strays, endings = string.match(value, '^(%d*)%.?(%d*)$', 18)
  return owner, on, tonumber(strays) or 0, tonumber(endings)
end

local function written(owner, on, strays, endings)
  return owner .. (on and '+' or '-') .. (strays > 0 and strays or '') .. (endings and '.' .. endings or '')
end

-- A request over a connection that has been given up comes late, and is not executed.
if redis.call('ZSCORE', NODES, me) then
  local last = redis.call('HGET', NUMBERS, me)
  if last and number <= tonumber(last) then return false end
  redis.call('HSET', NUMBERS, me, number)
end
