//go:build !guanlan_stock

package stock_test

const provider = "*sdk.TracerProvider"
