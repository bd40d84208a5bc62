-- KEYS: the inbox of the owner that asks.
forget(me)
redis.call('DEL', KEYS[7])
return 'OK'
