module github.com/guanlan-io/guanlan/sdk/stock

go 1.26.0

// What stands beside this module, not a published one.
replace github.com/guanlan-io/guanlan/sdk => ../

require github.com/guanlan-io/guanlan/sdk v0.0.0-00010101000000-000000000000
