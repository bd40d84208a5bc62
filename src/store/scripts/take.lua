-- ARGV: the dead owner, 1 if it was seen alive of late, for how long an icon that was left on is owed a Stopped in
-- milliseconds, then conversations. Answers those that are taken, each with its endings.
local dead, recent, owed_for = ARGV[3], ARGV[4] == '1', tonumber(ARGV[5])
if is_alive(dead) or not is_alive(me) then return {} end
local lapsed_at = redis.call('ZSCORE', NODES, dead)
local owed = recent or (lapsed_at and now - tonumber(lapsed_at) <= owed_for)
local taken = {}
for i = 6, #ARGV do
  local value = redis.call('HGET', HELD, ARGV[i])
  if value then
    local owner, on, _, endings = read(value)
    if owner == dead and on and owed then
      redis.call('HSET', HELD, ARGV[i], written(me, true, 0, endings))
      taken[#taken + 1] = ARGV[i]
      taken[#taken + 1] = endings or 0
    elseif owner == dead then
      redis.call('HDEL', HELD, ARGV[i])
    end
  end
end
return taken
