package convert

import (
	"hash/fnv"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"time"

	gogotypes "github.com/gogo/protobuf/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/swarmkit/v2/api"
)

// Values for types whose values are not free: enumerations (the last of each, as the
// first may stand for "nothing"), and the one choice of swarmkit's that is filled.
var leaves = map[reflect.Type]any{
	reflect.TypeFor[swarm.RuntimeType]():               swarm.RuntimeContainer,
	reflect.TypeFor[swarm.FailureAction]():             swarm.UpdateFailureActionRollback,
	reflect.TypeFor[swarm.UpdateOrder]():               swarm.UpdateOrderStartFirst,
	reflect.TypeFor[swarm.ResolutionMode]():            swarm.ResolutionModeDNSRR,
	reflect.TypeFor[swarm.PortConfigPublishMode]():     swarm.PortConfigPublishModeHost,
	reflect.TypeFor[swarm.RestartPolicyCondition]():    swarm.RestartPolicyConditionOnFailure,
	reflect.TypeFor[swarm.SeccompMode]():               swarm.SeccompModeCustom,
	reflect.TypeFor[swarm.AppArmorMode]():              swarm.AppArmorModeDisabled,
	reflect.TypeFor[network.IPProtocol]():              network.UDP,
	reflect.TypeFor[mount.Type]():                      mount.TypeTmpfs,
	reflect.TypeFor[mount.Propagation]():               mount.PropagationSlave,
	reflect.TypeFor[container.Isolation]():             container.IsolationHyperV,
	reflect.TypeFor[netip.Addr]():                      netip.MustParseAddr("192.0.2.7"),
	reflect.TypeFor[os.FileMode]():                     os.FileMode(0o640),
	reflect.TypeFor[time.Time]():                       time.Unix(1e9, 7).UTC(),
	reflect.TypeFor[gogotypes.Timestamp]():             gogotypes.Timestamp{Seconds: 1e9, Nanos: 7},
	reflect.TypeFor[gogotypes.Duration]():              gogotypes.Duration{Seconds: 11, Nanos: 13},
	reflect.TypeFor[api.UpdateStatus_UpdateState]():    api.UpdateStatus_ROLLBACK_COMPLETED,
	reflect.TypeFor[api.TaskState]():                   api.TaskStateFailed,
	reflect.TypeFor[api.EndpointSpec_ResolutionMode](): api.ResolutionModeDNSRoundRobin,
	reflect.TypeFor[api.PortConfig_Protocol]():         api.ProtocolSCTP,
	reflect.TypeFor[api.PortConfig_PublishMode]():      api.PublishModeHost,
}

// fill sets every field to a value of its own, which follows from its path. Choices of
// swarmkit (interfaces) are left for the test.
func fill(v reflect.Value, path string) {
	if value, ok := leaves[v.Type()]; ok {
		v.Set(reflect.ValueOf(value))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(path)
		if strings.HasSuffix(path, "Addr") || strings.HasSuffix(path, "Addresses") || strings.HasSuffix(path, "Subnet") || strings.HasSuffix(path, "Range") {
			v.SetString("192.0.2.0/24")
		}
		if strings.HasSuffix(path, "Gateway") {
			v.SetString("192.0.2.1")
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(number(path))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(number(path)) & 0x7f)
	case reflect.Float32:
		v.SetFloat(0.25)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), path)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), path)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, path+".key")
		fill(value, path+".value")
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	case reflect.Interface:
	default:
		panic("no value for " + path + " of type " + v.Type().String())
	}
}

// number returns a number that follows from the path: 1 to 30 011.
func number(path string) int64 {
	h := fnv.New32()
	h.Write([]byte(path))
	return int64(1 + h.Sum32()%30011)
}

// differences returns the paths of the fields that differ.
func differences(a, b reflect.Value, path string) (out []string) {
	switch {
	case reflect.DeepEqual(a.Interface(), b.Interface()):
		return nil
	case a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil():
		return differences(a.Elem(), b.Elem(), path)
	case a.Kind() == reflect.Slice && a.Len() == b.Len():
		for i := range a.Len() {
			out = append(out, differences(a.Index(i), b.Index(i), path)...)
		}
		return out
	case a.Kind() == reflect.Struct && a.NumField() > 0 && a.Type().Field(0).IsExported():
		for i := range a.NumField() {
			out = append(out, differences(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name)...)
		}
		return out
	}
	return []string{path}
}

// unset returns the paths of the fields that have no value.
func unset(v reflect.Value, path string) (out []string) {
	switch {
	case v.IsZero() && !(v.Kind() == reflect.Struct && v.NumField() == 0):
		return []string{path}
	case v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface:
		return unset(v.Elem(), path)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			out = append(out, unset(v.Index(i), path)...)
		}
	case v.Kind() == reflect.Struct && v.NumField() > 0 && v.Type().Field(0).IsExported() && !strings.Contains(v.Type().PkgPath(), "gogo"):
		for i := range v.NumField() {
			out = append(out, unset(v.Field(i), path+"."+v.Type().Field(i).Name)...)
		}
	}
	return out
}
