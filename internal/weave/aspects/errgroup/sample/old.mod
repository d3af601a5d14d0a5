module example.com/shop

go 1.24.0

require (
	golang.org/x/sync v0.9.0
)
