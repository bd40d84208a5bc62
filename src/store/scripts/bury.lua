-- KEYS: the inbox of the dead owner. ARGV: the dead owner.
local dead = ARGV[3]
local lapsed_at = redis.call('ZSCORE', NODES, dead)
if not lapsed_at or now < tonumber(lapsed_at) then return {} end
local share = redis.call('HGET', SHARES, dead)
-- It may be cut off and still be sending: half of what it had. One that was leaving has said until when that counts.
local till = share and math.min(now + 60000, tonumber(string.match(share, '^%d+:%d+:%d+:%d+:%d+:(%d+)$')) or now + 60000)
if share and now < till then
  redis.call('HSET', SHARES, '~' .. dead, math.ceil(string.match(share, '%d+') / 2) .. ':' .. till)
end
forget(dead)
return take_mail(KEYS[7])
