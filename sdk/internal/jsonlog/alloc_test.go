//go:build !race

package jsonlog

import (
	"testing"

	"github.com/guanlan-io/guanlan/sdk/core"
)

type nothing struct{}

func (*nothing) Add(core.Attr)    {}
func (*nothing) OpenGroup(string) {}
func (*nothing) CloseGroup()      {}

func TestPlainMembersTakeNoMemory(t *testing.T) {
	into := new(nothing)
	got := testing.AllocsPerRun(100, func() { Add(into, `{"s":"x","n":17,"g":{"b":true,"f":1.5}}`) })
	if got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}
