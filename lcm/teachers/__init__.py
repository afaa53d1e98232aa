"""Teachers: what a student's targets can be made by. Registered by name, so that more can come."""

from __future__ import annotations

from lcm.teachers.base import Teacher, TeacherConfig, load_teacher

__all__ = ["Teacher", "TeacherConfig", "load_teacher"]
