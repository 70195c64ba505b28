package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// DeepCopyObject implements runtime.Object.
func (u *OSUpgrade) DeepCopyObject() runtime.Object { return u.DeepCopy() }

// DeepCopyObject implements runtime.Object.
func (l *OSUpgradeList) DeepCopyObject() runtime.Object {
	to := *l
	l.ListMeta.DeepCopyInto(&to.ListMeta)
	to.Items = slices.Clone(l.Items)
	for i := range to.Items {
		to.Items[i] = *l.Items[i].DeepCopy()
	}
	return &to
}

// DeepCopy shares nothing with u.
func (u *OSUpgrade) DeepCopy() *OSUpgrade {
	to := *u
	u.ObjectMeta.DeepCopyInto(&to.ObjectMeta)
	to.Spec, to.Status = u.Spec.copied(), u.Status.copied()
	return &to
}

func (s Spec) copied() Spec {
	s.NodeSelector, s.Timeout = s.NodeSelector.DeepCopy(), pointed(s.Timeout)
	s.Pools, s.Waves, s.Window = slices.Clone(s.Pools), slices.Clone(s.Waves), pointed(s.Window)
	for i := range s.Pools {
		s.Pools[i].NodeSelector = *s.Pools[i].NodeSelector.DeepCopy()
	}
	for i := range s.Waves {
		w := &s.Waves[i]
		w.NodeSelector, w.Soak = w.NodeSelector.DeepCopy(), pointed(w.Soak)
	}
	if s.Window != nil {
		s.Window.Days = slices.Clone(s.Window.Days)
	}
	return s
}

func (s Status) copied() Status {
	s.Nodes, s.Conditions = slices.Clone(s.Nodes), slices.Clone(s.Conditions)
	for i := range s.Nodes {
		s.Nodes[i].OrderedAt = pointed(s.Nodes[i].OrderedAt)
	}
	return s
}

// pointed is a pointer to another value that is the same.
func pointed[T metav1.Duration | metav1.Time | Window](from *T) *T {
	if from == nil {
		return nil
	}
	to := *from
	return &to
}
