module example.com/shop

go 1.25.0

require github.com/gammazero/workerpool v1.1.3

require github.com/gammazero/deque v0.2.0 // indirect
