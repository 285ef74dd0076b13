"""Operations, one module each: settings, random draws and application. CONTRIBUTING.md says how to add one."""
