// Package store keeps what Guanlan accepted: traces and logs in a columnar
// event engine behind a journal, metrics in a Prometheus TSDB.
//
// It holds the vocabulary that its engines and its readers share (tenants,
// time ranges, conditions, the event treaty). The engines live one folder
// deeper, each behind one package: store/event wraps the log storage,
// store/metric wraps the TSDB.
package store

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Sentinel errors. Writers and readers wrap them with the object concerned.
var (
	// ErrUnavailable: the store cannot take data now (disk full, queue full,
	// closing). Nothing of the batch was kept; the sender should retry.
	ErrUnavailable = errors.New("store unavailable")
	// ErrInvalid: the request can never succeed as it stands.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: the named trace, tenant or object does not exist.
	ErrNotFound = errors.New("not found")
	// ErrLimit: a query would exceed its limit on time, rows or memory.
	ErrLimit = errors.New("query limit exceeded")
)

// Tenant separates the data of independent users of one Guanlan. The zero
// value is the default tenant.
type Tenant struct {
	Account uint32
	Project uint32
}

// ParseTenant reads the form used in the X-Scope-OrgID header: "", "12" or
// "12:3", each part an unsigned 32-bit integer.
func ParseTenant(s string) (Tenant, error) {
	if s == "" {
		return Tenant{}, nil
	}
	a, p, both := strings.Cut(s, ":")
	account, err := strconv.ParseUint(a, 10, 32)
	var project uint64
	if err == nil && both {
		project, err = strconv.ParseUint(p, 10, 32)
	}
	if err != nil {
		return Tenant{}, fmt.Errorf("X-Scope-OrgID %q: want ACCOUNT or ACCOUNT:PROJECT, each an integer from 0 to 4294967295: %w", s, ErrInvalid)
	}
	return Tenant{Account: uint32(account), Project: uint32(project)}, nil
}

// String is the form that ParseTenant reads.
func (t Tenant) String() string {
	if t.Project == 0 {
		return strconv.FormatUint(uint64(t.Account), 10)
	}
	return fmt.Sprintf("%d:%d", t.Account, t.Project)
}

// Range is an interval of event time. Start is inclusive, End exclusive.
type Range struct {
	Start, End time.Time
}
