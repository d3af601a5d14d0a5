//go:build !linux

package kernelreceiver

import "errors"

func (i *instance) open() (watch, error) {
	return nil, errors.New("start receiver kernel: it runs on Linux only\n  → take it out of the pipelines on this machine")
}
