//go:build guanlan_woven

package zap

// GuanlanSends says to package log that what is written here is exported as an
// entry.
func (*loggerWriter) GuanlanSends() {}
