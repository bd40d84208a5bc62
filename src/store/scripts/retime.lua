-- ARGV: the version that is known, then the changes of the timing. Answers 1 if they hold for all from now on.
if (redis.call('HGET', TIMING, 'version') or '0') ~= ARGV[3] then return 0 end
redis.call('HSET', TIMING, 'version', ARGV[3] + 1, 'changes', ARGV[4])
return 1
