//go:build !linux

package kernelreceiver

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/guanlan-io/guanlan/internal/kernel/telemetry"
)

var errOther = errors.New("watch the kernel: it is done on Linux only\n  → take receiver kernel out of the pipelines on this machine")

func (i *instance) open() (watch, error) { return nil, errOther }

func checkHosts(_, _ []string) error { return nil }

// Check says that nothing runs here.
func Check(context.Context, string) ([]telemetry.Feature, []telemetry.Capability, error) {
	return nil, nil, errOther
}

// TailAudit says that there is no audit here.
func TailAudit(context.Context, []string, func(plog.Logs)) error { return errOther }
