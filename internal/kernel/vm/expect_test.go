//go:build linux

package vm

import "strings"

// answers is what the features say, by how the name of guest and variant begins
// and ends: the last that fits decides.
var answers = []struct{ guest, variant, want string }{
	{"", "", `
tcp: works
oom: works
audit: works
profile: works
attach: works`},
	{"5.10", "", `
tcp: works
oom: works
audit: works
profile: works
attach: attach misses cookies of probes; Linux 5.15 has them
part of tcp: tcp: enable_rtt misses a BPF helper (unknown func bpf_setsockopt#49); Linux 6.12 has it
part of profile: profile: off_cpu misses storage of tasks; Linux 5.11 has it`},
	{"", "confidential", `
tcp: tcp: on_state misses the kernel's leave: lockdown is at confidentiality; boot with lockdown=integrity or without
oom: oom: oom_victim misses the kernel's leave: lockdown is at confidentiality; boot with lockdown=integrity or without
audit: audit: audit_exec misses the kernel's leave: lockdown is at confidentiality; boot with lockdown=integrity or without
profile: profile: on_cpu misses the kernel's leave: lockdown is at confidentiality; boot with lockdown=integrity or without
profile: profile: off_cpu misses the kernel's leave: lockdown is at confidentiality; boot with lockdown=integrity or without
attach: attach: goroutine_made misses the kernel's leave: lockdown is at confidentiality; boot with lockdown=integrity or without
part of tcp: tcp: seed_listeners misses the kernel's leave: lockdown is at confidentiality; boot with lockdown=integrity or without
part of profile: profile: on_cpu misses the kernel's leave: lockdown is at confidentiality; boot with lockdown=integrity or without
part of profile: profile: off_cpu misses the kernel's leave: lockdown is at confidentiality; boot with lockdown=integrity or without`},
	{"", "no BTF", `
tcp: tcp: on_state misses type information (BTF); use a kernel built with CONFIG_DEBUG_INFO_BTF
oom: oom misses type information (BTF); use a kernel built with CONFIG_DEBUG_INFO_BTF
audit: audit: audit_exec misses type information (BTF); use a kernel built with CONFIG_DEBUG_INFO_BTF
profile: profile: on_cpu misses type information (BTF); use a kernel built with CONFIG_DEBUG_INFO_BTF
profile: profile: off_cpu misses type information (BTF); use a kernel built with CONFIG_DEBUG_INFO_BTF
attach: works
part of tcp: tcp: seed_listeners misses type information (BTF); use a kernel built with CONFIG_DEBUG_INFO_BTF
part of profile: profile: on_cpu misses type information (BTF); use a kernel built with CONFIG_DEBUG_INFO_BTF
part of profile: profile: off_cpu misses type information (BTF); use a kernel built with CONFIG_DEBUG_INFO_BTF`},
	{"", "no sysfs", `
tcp: tcp misses a file of the kernel; mount tracefs, sysfs and the cgroup file systems
oom: oom misses a file of the kernel; mount tracefs, sysfs and the cgroup file systems
audit: audit misses a file of the kernel; mount tracefs, sysfs and the cgroup file systems
profile: profile misses a file of the kernel; mount tracefs, sysfs and the cgroup file systems
attach: attach misses a file of the kernel; mount tracefs, sysfs and the cgroup file systems`},
}

func answersOf(name string) []string {
	var want string
	for _, a := range answers {
		if strings.HasPrefix(name, a.guest) && strings.HasSuffix(name, a.variant) {
			want = a.want
		}
	}
	return strings.Split(strings.TrimSpace(want), "\n")
}

// skips are the tests that a guest cannot run, with the reason.
var skips = []struct{ guest, test, why string }{
	{"", "audit.TestNothingIsLeftAfterClose", "there is no bpftool"},
	{"", "inject.TestInjectBuilds", "variant builds brings programs of other versions of Go"},
	{"", "attach.TestInjectBuilds", "as inject's"},
	{"", "attach.TestInjectionRefused", "they allow it; variant lockdown does not"},
	{"", "dns.TestNamesOfOtherResolvers", "there is no getent"},
	{"6.1 arm64", "audit.TestProgramOf32Bits", "they are for amd64"},
	{"5.10", "inject.TestInjectHTTP1/#00", "attach needs 5.15"},
	{"5.10", "inject.TestInjectHTTP1/-ldflags=-s_-w", "as before"},
	{"5.10", "inject.TestInjectHTTP2", "as before"},
	{"5.10", "inject.TestInjectGRPC/#00", "as before"},
	{"5.10", "inject.TestInjectGRPC/-ldflags=-s_-w", "as before"},
	{"5.10", "inject.TestInjectWhileRequestsRun", "as before"},
	{"5.10", "inject.TestInjectTwice", "as before"},
	{"5.10", "inject.TestInjectXNet/-tags=xnet", "as before"},
	{"5.10", "inject.TestInjectXNet/-tags=xnet_-ldflags=-s_-w", "as before"},
	{"5.10", "inject.TestInjectHosts/HTTP1", "as before"},
	{"5.10", "inject.TestInjectHosts/HTTP2", "as before"},
	{"5.10", "inject.TestInjectHosts/xnet", "as before"},
	{"5.10", "inject.TestInjectHosts/gRPC", "as before"},
	{"5.10", "inject.TestInjectExcept", "as before"},
	{"5.10", "inject.TestInjectShop", "as before"},
	{"5.10", "refused.TestInjectionRefused", "as before"},
	{"5.10", "profile.TestOffCPU", "needs storage of tasks, of 5.11"},
	{"5.10", "profile.TestShortWaits", "as TestOffCPU"},
}

func skipsOf(name string) (out []string) {
	for _, s := range skips {
		if strings.HasPrefix(name, s.guest) {
			out = append(out, s.test)
		}
	}
	return out
}
